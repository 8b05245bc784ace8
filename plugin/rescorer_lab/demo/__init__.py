"""``rescorer demo``: a real node, a real model, real judgments, and what rescoring does to them."""
