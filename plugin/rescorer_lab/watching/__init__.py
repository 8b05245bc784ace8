"""The room of ``rescorer watch``: what live searches became, read from a log or from metrics, and what alarms in it."""
