"""Serving of rewards while a job trains: Ray actors that hold the bundle, a client for the plugins, an HTTP API."""
