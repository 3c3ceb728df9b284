//! Names and kinds of functions.

use super::expression::Function;

/// The function of a command. `log`, `ln` and `exp` are functions too, with readers of their own.
pub(super) fn function_named(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" | "tg" => Function::Tan,
        "csc" => Function::Csc,
        "sec" => Function::Sec,
        "cot" | "ctg" => Function::Cot,
        "arcsin" | "asin" => Function::Arcsin,
        "arccos" | "acos" => Function::Arccos,
        "arctan" | "atan" | "arctg" => Function::Arctan,
        "arccsc" => Function::Arccsc,
        "arcsec" => Function::Arcsec,
        "arccot" => Function::Arccot,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "arsinh" | "arcsinh" => Function::Arsinh,
        "arcosh" | "arccosh" => Function::Arcosh,
        "artanh" | "arctanh" => Function::Artanh,
        "log" | "ln" | "lg" | "exp" => Function::Log,
        "floor" => Function::Floor,
        "ceil" => Function::Ceil,
        "gcd" => Function::Gcd,
        "lcm" => Function::Lcm,
        "max" => Function::Max,
        "min" => Function::Min,
        "det" => Function::Determinant,
        _ => return None,
    })
}

impl Function {
    pub(super) fn takes_an_angle(self) -> bool {
        matches!(
            self,
            Self::Sin | Self::Cos | Self::Tan | Self::Csc | Self::Sec | Self::Cot
        )
    }

    /// What `f^{-1}` means.
    pub(super) fn inverse(self) -> Option<Self> {
        Some(match self {
            Self::Sin => Self::Arcsin,
            Self::Cos => Self::Arccos,
            Self::Tan => Self::Arctan,
            Self::Csc => Self::Arccsc,
            Self::Sec => Self::Arcsec,
            Self::Cot => Self::Arccot,
            Self::Sinh => Self::Arsinh,
            Self::Cosh => Self::Arcosh,
            Self::Tanh => Self::Artanh,
            _ => return None,
        })
    }
}
