//! placeholder
use std::borrow::Cow;
pub fn text(t:&str)->Cow<'_, str>{Cow::Borrowed(t)}
pub fn number(n:f64)->String{n.to_string()}
