"""The pool of reward actors: resources, routing of users, scaling and supervision."""
