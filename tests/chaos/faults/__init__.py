"""The written list of faults, room by room; importing it fills it."""

from chaos.faults import answers, doors, engine, lines, processes, resources
from chaos.scene import FAULTS as ALL

__all__ = ["ALL", "answers", "doors", "engine", "lines", "processes", "resources"]
