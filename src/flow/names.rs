//! Interned names: models, versions, classes and slice values as small integers.
