"""Rooms with furniture, drawn by rays: scenes with exact classes, depths and normals."""
