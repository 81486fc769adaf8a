"""Fixed-point networks from other tools; each is compared with the tool's own outputs, and refused where one differs."""
