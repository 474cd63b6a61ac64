"""Examines this machine for `segmentor doctor`: what is installed, and what answers."""
