"""The law of good masks: samples of masks at one temperature, and what they say."""
