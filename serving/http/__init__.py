"""HTTP: V1, V2 REST and /predict."""
