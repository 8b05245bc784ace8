"""What all unit tests share: properties are not judged by the time that a busy machine takes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ours", deadline=None)
settings.load_profile("ours")
