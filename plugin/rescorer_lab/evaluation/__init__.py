"""What rescoring does to judged searches: systems asked, lists measured, differences tested, failures told apart."""
