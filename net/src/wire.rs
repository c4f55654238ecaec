//! What goes over the wire: frames, and what is in them.

/// Declares an enum whose items are numbers on the wire. The list of all items is made from the same words, so that no
/// item can be written and not be read.
macro_rules! numbered {
    (
        $(#[$about:meta])*
        pub enum $name:ident: $number:ident {
            $($(#[$about_item:meta])* $item:ident = $value:literal,)*
        }
    ) => {
        $(#[$about])*
        #[repr($number)]
        pub enum $name {
            $($(#[$about_item])* $item = $value,)*
        }

        impl $name {
            /// Every item, in the order of its declaration.
            pub const ALL: &[Self] = &[$(Self::$item),*];

            /// The item that a number names.
            pub const fn of(number: $number) -> Option<Self> {
                match number {
                    $($value => Some(Self::$item),)*
                    _ => None,
                }
            }
        }
    };
}

pub mod frame;
pub mod hello;
pub mod lapse;
pub mod message;
pub mod sync;
pub mod versions;
