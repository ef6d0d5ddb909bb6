//! From page data to text in three languages. Knows nothing of rows.

pub mod html;
pub mod latex;
pub mod markdown;
mod parts;
