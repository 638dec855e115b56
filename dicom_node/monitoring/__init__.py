"""The whole installation observed from outside its work: metrics, and notifications of troubles."""
