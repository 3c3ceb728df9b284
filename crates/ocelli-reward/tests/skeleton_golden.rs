//! The structural reward of formulas against sympy, on all pairs of a list.

use ocelli_reward::measure::symbolic_skeleton::{Exponents, Expression, skeleton_similarity};
use serde_json::Value;

/// Reads `["+", a, b, …]`, a name or a number.
fn expression(tree: &Value) -> Expression {
    match tree {
        Value::Number(number) => Expression::Number(number.as_f64().expect("a 64-bit number")),
        Value::String(name) => Expression::Symbol(name.clone()),
        Value::Array(parts) => {
            let mut arguments: Vec<Expression> = parts[1..].iter().map(expression).collect();
            match parts[0]
                .as_str()
                .expect("the first part names the operation")
            {
                "+" => Expression::Sum(arguments),
                "*" => Expression::Product(arguments),
                "^" => {
                    let exponent = arguments.remove(1);
                    Expression::Power(Box::new(arguments.remove(0)), Box::new(exponent))
                }
                name => Expression::Function(name.to_owned(), arguments),
            }
        }
        other => panic!("make_skeleton.py does not write {other}"),
    }
}

#[test]
fn skeletons_equal_sympy() {
    let golden: Value =
        serde_json::from_str(include_str!("golden/skeleton.json")).expect("the file is JSON");
    let formulas: Vec<Expression> = golden["formulas"]
        .as_array()
        .expect("a list")
        .iter()
        .map(expression)
        .collect();
    assert!(formulas.len() > 30);
    for (name, exponents) in [("kept", Exponents::Kept), ("sign", Exponents::Sign)] {
        for (row, a) in formulas.iter().enumerate() {
            for (column, b) in formulas.iter().enumerate() {
                let found = skeleton_similarity(a, b, &["x", "v", "t"], exponents)
                    .expect("the formulas are small");
                let expected = golden[name][row][column].as_f64().expect("a number");
                assert!(
                    (found - expected).abs() < 1e-8,
                    "{name}, formulas {row} and {column}: {found} is not {expected}"
                );
            }
        }
    }
}
