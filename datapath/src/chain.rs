//! What one packet's payload lies in: one frame, or several in order.

/// One or several of `T`, in order. One takes no memory of its own.
#[derive(Debug, PartialEq, Eq)]
pub enum Chain<T> {
    /// The only one.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> Chain<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none: only of [`Chain::Many`] of nothing.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Puts them at the end of `out`.
    pub fn append_to(self, out: &mut Vec<T>) {
        match self {
            Self::One(one) => out.push(one),
            Self::Many(mut many) => out.append(&mut many),
        }
    }

    /// Does something with each.
    pub fn for_each(self, each: impl FnMut(T)) {
        match self {
            Self::One(one) => std::iter::once(one).for_each(each),
            Self::Many(many) => many.into_iter().for_each(each),
        }
    }
}
