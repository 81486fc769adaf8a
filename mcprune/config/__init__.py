"""What a run is asked for: options, their texts, presets and checks. Free of torch."""
