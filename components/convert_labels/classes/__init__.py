"""Which label of an export becomes which class: flags, YAML file, and what follows from them."""
