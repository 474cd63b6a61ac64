"""The commands of `segmentor`, a module a group; each imports its work when it runs."""
