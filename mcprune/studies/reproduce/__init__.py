"""Published statements measured again."""
