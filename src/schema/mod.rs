//! Schemas as data, and the one declaration per attribute from which model, schema, defaults and docs come.
