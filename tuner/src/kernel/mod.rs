//! What is tuned: the kernel specification, and the checked form the engine works with.

mod spec;
mod value;

pub use spec::{
    Argument, Buffer, Compile, ConfigMapKeyRef, ElementType, Init, Kernel, Language, Launch, Metric,
    Parameter, Problem, Range, Scalar, SizesAs, Source, Verify,
};
pub use value::{Configuration, Value};
