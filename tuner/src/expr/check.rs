//! From syntax tree to typed code: names, types, and what is not supported.

use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::code::{Arithmetic, Comparison, Node, bits};
use super::suggest::help_with_name;
use super::{ExpressionError, Position, Scope, Type, span};

/// The functions that expressions may call.
const FUNCTIONS: &str = "int(x), double(x), ceil_div(a, b), min(a, b), max(a, b)";

type Typed = (Node, Type);

/// Checks a parsed text against the scope and compiles it.
pub(super) fn check(text: &str, program: &Program, scope: &Scope) -> Result<Typed, ExpressionError> {
    let mut checker = Checker { text, program, scope, unknown_texts: Vec::new() };
    checker.expression(program.expression())
}

struct Checker<'a> {
    text: &'a str,
    program: &'a Program,
    scope: &'a Scope,
    /// String literals that no variable can equal, but other literals may.
    unknown_texts: Vec<String>,
}

impl Checker<'_> {
    fn expression(&mut self, node: &IdedExpr) -> Result<Typed, ExpressionError> {
        match &node.expr {
            Expr::Ident(name) => match self.scope.variable(name) {
                Some((slot, ty)) => Ok((Node::Variable(slot), ty)),
                None => Err(ExpressionError::UnknownName {
                    name: name.clone(),
                    position: self.position(node),
                    help: help_with_name(name, self.scope),
                }),
            },
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Call(call) => self.call(node, call),
            Expr::List(_) => {
                Err(self.unsupported(node, "a list", "lists stand only after `in`: x in [1, 2, 4]"))
            }
            Expr::Select(_) => {
                Err(self.unsupported(node, "field access", "variables are plain names without dots"))
            }
            Expr::Comprehension(_) => Err(self.unsupported(
                node,
                "a macro such as all or exists",
                "write the conditions out with && and ||",
            )),
            Expr::Map(_) | Expr::Struct(_) => {
                Err(self.unsupported(node, "a map or message", "use numbers, booleans and strings"))
            }
            Expr::Unspecified => Err(self.unsupported(node, "an empty expression", "write a value there")),
        }
    }

    fn literal(&mut self, node: &IdedExpr, literal: &LiteralValue) -> Result<Typed, ExpressionError> {
        match literal {
            LiteralValue::Int(int) => Ok((Node::Constant(*int.inner()), Type::Int)),
            LiteralValue::Boolean(bool) => Ok((Node::Constant(i64::from(*bool.inner())), Type::Bool)),
            LiteralValue::Double(double) => Ok((Node::Constant(bits(*double.inner())), Type::Double)),
            LiteralValue::String(text) => {
                let id = self.scope.text_id(text.inner()).unwrap_or_else(|| self.unknown_text(text.inner()));
                Ok((Node::Constant(id), Type::Text))
            }
            LiteralValue::UInt(uint) => Err(self.unsupported(
                node,
                "an unsigned literal",
                &format!("write it without the u: {}", uint.inner()),
            )),
            LiteralValue::Bytes(_) => {
                Err(self.unsupported(node, "a bytes literal", "write a string without the b"))
            }
            LiteralValue::Null => {
                Err(self.unsupported(node, "null", "every variable has a value; remove the comparison"))
            }
        }
    }

    /// A number for a string that is not in the scope: negative, as no interned one is.
    fn unknown_text(&mut self, text: &str) -> i64 {
        let index = self.unknown_texts.iter().position(|known| known == text).unwrap_or_else(|| {
            self.unknown_texts.push(text.to_owned());
            self.unknown_texts.len() - 1
        });
        -1 - i64::try_from(index).unwrap_or(i64::MAX - 1)
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Result<Typed, ExpressionError> {
        if call.target.is_some() {
            return Err(self.unsupported(
                node,
                &format!("the method {}", call.func_name),
                &format!("the functions are {FUNCTIONS}"),
            ));
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => {
                Ok((Node::And(Box::new((self.boolean(a, "&&")?, self.boolean(b, "&&")?))), Type::Bool))
            }
            (operators::LOGICAL_OR, [a, b]) => {
                Ok((Node::Or(Box::new((self.boolean(a, "||")?, self.boolean(b, "||")?))), Type::Bool))
            }
            (operators::LOGICAL_NOT, [a]) => Ok((Node::Not(Box::new(self.boolean(a, "!")?)), Type::Bool)),
            (operators::CONDITIONAL, [condition, yes, no]) => self.conditional(node, condition, yes, no),
            (operators::NEGATE, [operand]) => self.negate(node, operand),
            (operators::IN, [element, list]) => self.membership(node, element, list),
            ("int" | "double", [operand]) => self.cast(node, &call.func_name, operand),
            (name, [a, b]) => {
                if let Some(operator) = arithmetic(name) {
                    self.arithmetic(node, operator, a, b)
                } else if let Some(operator) = comparison(name) {
                    self.comparison(node, operator, a, b)
                } else {
                    Err(self.unknown_function(node, name, 2))
                }
            }
            (name, args) => Err(self.unknown_function(node, name, args.len())),
        }
    }

    fn boolean(&mut self, node: &IdedExpr, operator: &str) -> Result<Node, ExpressionError> {
        let (code, ty) = self.expression(node)?;
        if ty == Type::Bool {
            return Ok(code);
        }
        let operand = self.written(node);
        let help = if matches!(ty, Type::Int | Type::Double) {
            let zero = if ty == Type::Int { "0" } else { "0.0" };
            format!("CEL converts nothing by itself: write {} != {zero}", bracketed(&operand))
        } else {
            "compare it with a value".to_owned()
        };
        Err(self.type_error(node, format!("`{operand}` is {ty} where {operator} needs bool"), help))
    }

    fn conditional(
        &mut self,
        node: &IdedExpr,
        condition: &IdedExpr,
        yes: &IdedExpr,
        no: &IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let condition = self.boolean(condition, "? :")?;
        let (yes_code, yes_type) = self.expression(yes)?;
        let (no_code, no_type) = self.expression(no)?;
        if yes_type == no_type {
            return Ok((Node::Conditional(Box::new((condition, yes_code, no_code))), yes_type));
        }
        let what = format!("the two results of `? :` are {yes_type} and {no_type}");
        let help = self.conversion(yes, yes_type, no, no_type);
        Err(self.type_error(node, what, help))
    }

    fn negate(&mut self, node: &IdedExpr, operand: &IdedExpr) -> Result<Typed, ExpressionError> {
        let (code, ty) = self.expression(operand)?;
        match ty {
            Type::Int => Ok((Node::Negate(Box::new(code)), Type::Int)),
            Type::Double => Ok((Node::NegateDouble(Box::new(code)), Type::Double)),
            Type::Bool | Type::Text => {
                let what = format!("`{}` negates {ty}", self.written(node));
                let help = if ty == Type::Bool { "write ! for not" } else { "write a number" };
                Err(self.type_error(node, what, help.to_owned()))
            }
        }
    }

    fn membership(
        &mut self,
        node: &IdedExpr,
        element: &IdedExpr,
        list: &IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let Expr::List(list) = &list.expr else {
            return Err(self.unsupported(
                list,
                "`in` something that is not a list",
                "write the values out: x in [1, 2, 4]",
            ));
        };
        let (element_code, element_type) = self.expression(element)?;
        if element_type == Type::Double {
            let help = "convert with int(), or compare with < and >".to_owned();
            return Err(self.type_error(node, "`in` looks up a double".to_owned(), help));
        }
        let mut codes = Vec::with_capacity(list.elements.len());
        for item in &list.elements {
            let (code, ty) = self.expression(item)?;
            if ty != element_type {
                let what = format!(
                    "`{}` is {ty} in a list that `{}`, {element_type}, is looked up in",
                    self.written(item),
                    self.written(element),
                );
                let help = self.conversion(element, element_type, item, ty);
                return Err(self.type_error(item, what, help));
            }
            codes.push(code);
        }
        Ok((Node::In(Box::new((element_code, codes))), Type::Bool))
    }

    fn cast(
        &mut self,
        node: &IdedExpr,
        function: &str,
        operand: &IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let (code, ty) = self.expression(operand)?;
        match (function, ty) {
            ("int", Type::Int) => Ok((code, Type::Int)),
            ("int", Type::Double) => Ok((Node::ToInt(Box::new(code)), Type::Int)),
            ("double", Type::Double) => Ok((code, Type::Double)),
            ("double", Type::Int) => Ok((Node::ToDouble(Box::new(code)), Type::Double)),
            _ => {
                let help = if ty == Type::Bool {
                    format!("write {} ? 1 : 0", bracketed(&self.written(operand)))
                } else {
                    "write a number".to_owned()
                };
                Err(self.type_error(node, format!("{function}() of {ty}"), help))
            }
        }
    }

    fn arithmetic(
        &mut self,
        node: &IdedExpr,
        operator: Arithmetic,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let (a, left_type) = self.expression(left)?;
        let (b, right_type) = self.expression(right)?;
        let ints_only = matches!(operator, Arithmetic::Remainder | Arithmetic::CeilDiv);
        match (left_type, right_type) {
            (Type::Int, Type::Int) => Ok((Node::Int(operator, Box::new((a, b))), Type::Int)),
            (Type::Double, Type::Double) if !ints_only => {
                Ok((Node::Double(operator, Box::new((a, b))), Type::Double))
            }
            _ => {
                let what = format!("`{}` {}", self.written(node), applied(operator, left_type, right_type));
                let help = if ints_only && (left_type == Type::Double || right_type == Type::Double) {
                    "it is for int only: convert with int()".to_owned()
                } else {
                    self.conversion(left, left_type, right, right_type)
                };
                Err(self.type_error(node, what, help))
            }
        }
    }

    fn comparison(
        &mut self,
        node: &IdedExpr,
        operator: Comparison,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Typed, ExpressionError> {
        let (a, left_type) = self.expression(left)?;
        let (b, right_type) = self.expression(right)?;
        let equality = matches!(operator, Comparison::Equal | Comparison::NotEqual);
        match (left_type, right_type) {
            (Type::Int, Type::Int) => Ok((Node::CompareInt(operator, Box::new((a, b))), Type::Bool)),
            (Type::Double, Type::Double) => Ok((Node::CompareDouble(operator, Box::new((a, b))), Type::Bool)),
            (Type::Bool, Type::Bool) | (Type::Text, Type::Text) if equality => {
                Ok((Node::CompareInt(operator, Box::new((a, b))), Type::Bool))
            }
            (Type::Bool, Type::Bool) | (Type::Text, Type::Text) => Err(self.unsupported(
                node,
                &format!("`{}` orders {left_type}s, which", self.written(node)),
                "compare with ==, != or in",
            )),
            _ => {
                let what = format!("`{}` compares {left_type} with {right_type}", self.written(node));
                let help = self.conversion(left, left_type, right, right_type);
                Err(self.type_error(node, what, help))
            }
        }
    }

    /// How to make two operands of one type.
    fn conversion(&self, left: &IdedExpr, left_type: Type, right: &IdedExpr, right_type: Type) -> String {
        const RULE: &str = "CEL converts nothing by itself: write";
        match (left_type, right_type) {
            (Type::Int, Type::Double) => format!("{RULE} double({})", self.written(left)),
            (Type::Double, Type::Int) => format!("{RULE} double({})", self.written(right)),
            (Type::Bool, Type::Int | Type::Double) => {
                format!("{RULE} ({} ? 1 : 0)", self.written(left))
            }
            (Type::Int | Type::Double, Type::Bool) => {
                format!("{RULE} ({} ? 1 : 0)", self.written(right))
            }
            (Type::Text, Type::Text) => "strings can only be compared, with ==, != or in".to_owned(),
            (Type::Bool, Type::Bool) => "booleans are combined with &&, || and !".to_owned(),
            _ => format!("{left_type} and {right_type} have nothing in common: use values of one type"),
        }
    }

    fn unknown_function(&self, node: &IdedExpr, name: &str, arguments: usize) -> ExpressionError {
        match name {
            "min" | "max" if arguments > 2 => self.unsupported(
                node,
                &format!("{name} with {arguments} arguments"),
                &format!("it takes two, so nest it: {name}(a, {name}(b, c))"),
            ),
            operators::INDEX | operators::OPT_INDEX => {
                self.unsupported(node, "indexing", "no variable is a list")
            }
            name => self.unsupported(
                node,
                &format!(
                    "the function {name} with {arguments} argument{}",
                    if arguments == 1 { "" } else { "s" }
                ),
                &format!("the functions are {FUNCTIONS}"),
            ),
        }
    }

    fn written(&self, node: &IdedExpr) -> String {
        span::written(self.text, self.program.source_info(), node)
    }

    fn position(&self, node: &IdedExpr) -> Position {
        Position::of(self.text, span::offset(self.program.source_info(), node))
    }

    fn type_error(&self, node: &IdedExpr, what: String, help: String) -> ExpressionError {
        ExpressionError::Type { what, position: self.position(node), help }
    }

    fn unsupported(&self, node: &IdedExpr, what: &str, help: &str) -> ExpressionError {
        ExpressionError::Unsupported {
            what: format!("{what} is not supported"),
            position: self.position(node),
            help: help.to_owned(),
        }
    }
}

fn bracketed(text: &str) -> String {
    if text.chars().all(|c| c.is_alphanumeric() || c == '_') { text.to_owned() } else { format!("({text})") }
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    Some(match name {
        operators::ADD => Arithmetic::Add,
        operators::SUBSTRACT => Arithmetic::Subtract,
        operators::MULTIPLY => Arithmetic::Multiply,
        operators::DIVIDE => Arithmetic::Divide,
        operators::MODULO => Arithmetic::Remainder,
        "ceil_div" => Arithmetic::CeilDiv,
        "min" => Arithmetic::Min,
        "max" => Arithmetic::Max,
        _ => return None,
    })
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// What an operator does to its operands' types, as a phrase.
fn applied(operator: Arithmetic, left: Type, right: Type) -> String {
    match operator {
        Arithmetic::Add => format!("adds {left} and {right}"),
        Arithmetic::Subtract => format!("subtracts {right} from {left}"),
        Arithmetic::Multiply => format!("multiplies {left} with {right}"),
        Arithmetic::Divide | Arithmetic::CeilDiv => format!("divides {left} by {right}"),
        Arithmetic::Remainder => format!("takes the remainder of {left} by {right}"),
        Arithmetic::Min | Arithmetic::Max => format!("compares {left} with {right}"),
    }
}
