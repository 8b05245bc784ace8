"""Offline tools around rescorer, behind the command ``rescorer``: engines, templates, models, data, the demo."""
