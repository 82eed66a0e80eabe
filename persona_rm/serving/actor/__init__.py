"""What runs inside the Ray actors: the reward actor, the inference actor and the queues in front of them."""
