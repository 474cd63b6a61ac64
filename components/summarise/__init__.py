"""The summarise step: says how a run ended, whatever happened in it."""
