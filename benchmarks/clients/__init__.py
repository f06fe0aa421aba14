"""Other people's code on pyfast's interfaces; none of it is part of this project."""
