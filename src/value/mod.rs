//! Three-valued Terraform values: types, paths, exact numbers, and the msgpack and JSON codecs.
