"""What a person meets: the command line, its screen, its tables and pictures."""
