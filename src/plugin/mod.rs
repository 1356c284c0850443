//! The plugin protocol on tonic: the only module that names tonic or prost.
