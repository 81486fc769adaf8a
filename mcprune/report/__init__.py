"""What a person reads: text, tables, the terminal, HTML pages, figures."""
