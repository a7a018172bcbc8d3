"""The demo: one real model, co-designed with its hardware from description to a folder that can be served."""

from dovetail.app.demo.flow import Demo, demo

__all__ = ["Demo", "demo"]
