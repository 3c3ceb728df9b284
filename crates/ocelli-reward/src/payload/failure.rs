//! Why an answer could not be read.

/// Why an answer could not be read. The texts hold nothing of the answer itself, so they can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFailure {
    /// The turn has no closed answer section.
    #[error("no <answer>…</answer> section")]
    NoAnswer,
    /// Nothing but white space.
    #[error("the answer is empty")]
    Empty,
    /// More items than any answer needs.
    #[error("the answer holds too many items")]
    TooMany,
    /// Brackets inside brackets, deeper than any answer needs.
    #[error("brackets are nested too deeply")]
    TooDeep,
    /// Nothing of the form `[x1, y1, x2, y2]` or `(x1, y1), (x2, y2)`.
    #[error("no box of the form [x1, y1, x2, y2] or (x1, y1), (x2, y2)")]
    NoBox,
    /// An item of a list of boxes is no box.
    #[error("an item of the list is no box of four numbers")]
    BadBox,
    /// The text does not open with a number.
    #[error("the answer does not open with a number")]
    NoNumber,
    /// Digits follow the first number: a list, a range, a fraction, or separators in the wrong places.
    #[error("digits follow the first number, so it is not clear which is meant")]
    SeveralNumbers,
    /// More characters than any measurement needs.
    #[error("a number has more than 64 characters")]
    NumberTooLong,
    /// Infinite, or too large for a coordinate.
    #[error("a number is too large")]
    NumberTooLarge,
    /// `NaN` or `Infinity` where a number is wanted.
    #[error("a number is not finite")]
    NotFinite,
    /// Something other than a percent sign follows the number.
    #[error("the number is followed by something other than a percent sign")]
    NotPercent,
    /// No letter of an option.
    #[error("no letter of an option")]
    NoLetter,
    /// Several letters.
    #[error("several letters, so it is not clear which is meant")]
    SeveralLetters,
    /// A letter beyond the last option.
    #[error("the letter names no option")]
    LetterBeyondOptions,
    /// The letter names one option and the text beside it another.
    #[error("the letter and the text beside it name different options")]
    LetterAgainstText,
    /// Neither yes nor no.
    #[error("the answer is neither yes nor no")]
    NoYesNo,
    /// Both yes and no.
    #[error("the answer says both yes and no")]
    YesAndNo,
    /// Something in a list of integers is no integer.
    #[error("an item of the list is no whole number")]
    NotInteger,
    /// No point of the form `(x, y)` or `[x, y]`.
    #[error("no point of the form (x, y) or [x, y]")]
    NoPoint,
    /// An item of a list of points is no point.
    #[error("an item of the list is no point of two numbers")]
    BadPoint,
    /// Too few points for a polygon (3) or a trajectory (2).
    #[error("too few points")]
    TooFewPoints,
    /// The points have no depths.
    #[error("no depth for the points")]
    NoDepth,
    /// The depths are not as many as the points.
    #[error("the depths are not as many as the points")]
    DepthCount,
    /// No two times with a dash, a comma or `to` between them.
    #[error("no time interval of the form start - end")]
    NoInterval,
    /// A time before the start.
    #[error("a time is negative")]
    NegativeTime,
    /// No object of boxes by frame.
    #[error("no boxes by frame")]
    NoFrames,
    /// A frame is named by something other than a number.
    #[error("a frame's key is no number")]
    BadFrameKey,
    /// No object with the wanted keys.
    #[error("no object with `boxes`, `positive_points` and `negative_points`")]
    NoSegmentation,
    /// An object lacks a key.
    #[error("the key `{0}` is missing")]
    MissingKey(&'static str),
    /// No segment of a route.
    #[error("no route segment")]
    NoRoute,
    /// A segment without line, departure or arrival.
    #[error("a route segment lacks its line, its departure or its arrival")]
    IncompleteSegment,
    /// No list of placed objects.
    #[error("no list of objects with their positions")]
    NoLayout,
    /// An object of a layout has no name or no position.
    #[error("an object of the layout lacks its name or its position")]
    BadLayoutItem,
    /// No fenced block of code.
    #[error("no fenced block of code")]
    NoCode,
    /// A fence is opened and not closed.
    #[error("the block of code is not closed")]
    CodeNotClosed,
    /// No action of the named axis.
    #[error("no {0} action")]
    NoAction(&'static str),
    /// Several actions of the named axis.
    #[error("several {0} actions")]
    SeveralActions(&'static str),
}
