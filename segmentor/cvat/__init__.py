"""CVAT as the place where labels come from and predictions go to, through its own client."""
