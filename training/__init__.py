"""From pictures with annotations to an adapter, and the miniature model from scratch."""
