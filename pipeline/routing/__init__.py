"""What a series is and who reads it: series attributes, rules, the model's protocol, the choice in a study."""
