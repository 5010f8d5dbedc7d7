"""How well the service does, what has drifted, and when to train again."""
