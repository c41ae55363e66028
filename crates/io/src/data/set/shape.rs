//! Extent of an image.

use std::fmt;

/// Extent of one image; bytes are stored channel by channel, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Colour planes: 1 for gray, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// The gray 28 x 28 image of the digit sets and of the generated suite.
    pub const GLYPH: Self = Self {
        channels: 1,
        height: 28,
        width: 28,
    };
    /// The RGB 32 x 32 image of CIFAR.
    pub const CIFAR: Self = Self {
        channels: 3,
        height: 32,
        width: 32,
    };

    /// Rows or columns that an image of a set may have.
    pub const MOST_SIDE: usize = 1 << 14;
    /// Channels that an image of a set may have.
    pub const MOST_CHANNELS: usize = 1 << 8;

    /// Whether the shape has pixels, and none of its extents exceeds its limit.
    pub(super) const fn is_usable(self) -> bool {
        self.channels > 0
            && self.channels <= Self::MOST_CHANNELS
            && self.height > 0
            && self.height <= Self::MOST_SIDE
            && self.width > 0
            && self.width <= Self::MOST_SIDE
    }

    /// Bytes of one image.
    pub const fn len(self) -> usize {
        self.channels * self.plane()
    }

    /// Whether an image of this shape has no pixel.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Pixels of one channel.
    pub const fn plane(self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}
