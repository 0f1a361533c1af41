//! Contents of buffers and values of scalars, on the host: made, compared and parsed the same for every device.

pub(super) mod compare;
pub(super) mod contents;
pub(super) mod element;
pub(super) mod scalar;
