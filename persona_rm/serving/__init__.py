"""Rewards while a job trains: Ray actors that hold the bundle, a client for the plugins, and the launch that ties
them."""
