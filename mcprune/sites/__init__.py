"""What a mask does to a torch model: sites, gates, a physically smaller model, and its files."""
