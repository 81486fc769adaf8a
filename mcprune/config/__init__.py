"""The options of a run: their texts, presets and checks. Free of torch."""
