//! From tokens to a tree.

use super::token::{Token, TokenKind, tokens};
use super::{Binary, Comparison, Comprehension, Expr, Kind, Loop, PythonError, Unary};

/// Deepest nesting; the parser and everything that walks its tree recurse per level.
const MAX_DEPTH: usize = 48;
/// Most binary operators. A chain of them is as deep a tree as it is long.
const MAX_OPERATORS: usize = 256;

type Parsed = Result<Expr, PythonError>;

/// Parses one expression.
///
/// # Errors
/// When the text is no expression, or one that this subset of Python does not have.
pub(in super::super) fn parse(text: &str) -> Parsed {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, operators: 0 };
    let expression = parser.expression()?;
    match parser.peek() {
        TokenKind::End => Ok(expression),
        TokenKind::Sign(",") => {
            let mut items = vec![expression];
            parser.items_until(&TokenKind::End, &mut items)?;
            Ok(Expr { column: 1, kind: Kind::List(items) })
        }
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    operators: usize,
}

/// Binary operators but the power, with how tightly they bind.
const OPERATORS: [(&str, Binary, u8); 11] = [
    ("|", Binary::BitOr, 1),
    ("^", Binary::BitXor, 2),
    ("&", Binary::BitAnd, 3),
    ("<<", Binary::ShiftLeft, 4),
    (">>", Binary::ShiftRight, 4),
    ("+", Binary::Add, 5),
    ("-", Binary::Subtract, 5),
    ("*", Binary::Multiply, 6),
    ("/", Binary::Divide, 6),
    ("//", Binary::FloorDivide, 6),
    ("%", Binary::Modulo, 6),
];

impl Parser {
    fn peek(&self) -> &TokenKind {
        self.tokens.get(self.next).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(1, |token| token.column)
    }

    fn take(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        self.next += 1;
        kind
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), TokenKind::Sign(s) if *s == sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), TokenKind::Word(w) if w == word);
        self.next += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), PythonError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    fn expected(&self, what: &str) -> PythonError {
        PythonError::new(self.column(), format!("{what} is missing before {}", shown(self.peek())))
    }

    fn unexpected(&self) -> PythonError {
        PythonError::new(self.column(), format!("unexpected {}", shown(self.peek())))
    }

    /// Everything that nests goes through here.
    fn expression(&mut self) -> Parsed {
        self.nested(|parser| {
            let column = parser.column();
            if parser.take_word("lambda") {
                return Err(PythonError::new(column, "a lambda cannot be translated; write the expression"));
            }
            let yes = parser.or()?;
            if !parser.take_word("if") {
                return Ok(yes);
            }
            let condition = parser.or()?;
            if !parser.take_word("else") {
                return Err(parser.expected("`else`"));
            }
            let no = parser.expression()?;
            Ok(Expr { column, kind: Kind::Conditional(Box::new((condition, yes, no))) })
        })
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("it nests deeper than {MAX_DEPTH} levels; split it");
            return Err(PythonError::new(self.column(), message));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn or(&mut self) -> Parsed {
        self.joined("or", Self::and, Kind::Or)
    }

    fn and(&mut self) -> Parsed {
        self.joined("and", Self::not, Kind::And)
    }

    fn joined(
        &mut self,
        word: &str,
        operand: fn(&mut Self) -> Parsed,
        join: fn(Vec<Expr>) -> Kind,
    ) -> Parsed {
        let first = operand(self)?;
        let column = first.column;
        let mut operands = vec![first];
        while self.take_word(word) {
            operands.push(operand(self)?);
        }
        match <[Expr; 1]>::try_from(operands) {
            Ok([only]) => Ok(only),
            Err(operands) => Ok(Expr { column, kind: join(operands) }),
        }
    }

    fn not(&mut self) -> Parsed {
        let column = self.column();
        if self.take_word("not") {
            let operand = self.nested(Self::not)?;
            return Ok(Expr { column, kind: Kind::Not(Box::new(operand)) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed {
        let first = self.binary(1)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.comparison_operator()? {
            rest.push((operator, self.binary(1)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Expr { column: first.column, kind: Kind::Compare(Box::new(first), rest) })
    }

    fn comparison_operator(&mut self) -> Result<Option<Comparison>, PythonError> {
        let operator = match self.peek() {
            TokenKind::Sign("==") => Comparison::Equal,
            TokenKind::Sign("!=") => Comparison::NotEqual,
            TokenKind::Sign("<") => Comparison::Less,
            TokenKind::Sign("<=") => Comparison::LessOrEqual,
            TokenKind::Sign(">") => Comparison::Greater,
            TokenKind::Sign(">=") => Comparison::GreaterOrEqual,
            TokenKind::Word(word) if word == "in" => Comparison::In,
            TokenKind::Word(word) if word == "not" => {
                self.next += 1;
                if matches!(self.peek(), TokenKind::Word(word) if word == "in") {
                    Comparison::NotIn
                } else {
                    return Err(self.expected("`in`"));
                }
            }
            TokenKind::Word(word) if word == "is" => {
                let message = "`is` compares identities; write == or !=";
                return Err(PythonError::new(self.column(), message));
            }
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(operator))
    }

    fn binary(&mut self, loosest: u8) -> Parsed {
        let mut left = self.unary()?;
        while let TokenKind::Sign(sign) = self.peek() {
            let known = OPERATORS.iter().find(|(text, _, binds)| text == sign && *binds >= loosest);
            let Some(&(_, operator, binds)) = known else { break };
            self.operators += 1;
            if self.operators > MAX_OPERATORS {
                let message = format!("it has more than {MAX_OPERATORS} operators; split it");
                return Err(PythonError::new(self.column(), message));
            }
            self.next += 1;
            let right = self.binary(binds + 1)?;
            left = Expr { column: left.column, kind: Kind::Binary(operator, Box::new((left, right))) };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let column = self.column();
        let operator = match self.peek() {
            TokenKind::Sign("-") => Unary::Minus,
            TokenKind::Sign("+") => Unary::Plus,
            TokenKind::Sign("~") => Unary::Invert,
            _ => return self.power(),
        };
        self.next += 1;
        let operand = self.nested(Self::unary)?;
        Ok(Expr { column, kind: Kind::Unary(operator, Box::new(operand)) })
    }

    fn power(&mut self) -> Parsed {
        let base = self.postfix()?;
        if !self.take_sign("**") {
            return Ok(base);
        }
        let exponent = self.nested(Self::unary)?;
        Ok(Expr { column: base.column, kind: Kind::Binary(Binary::Power, Box::new((base, exponent))) })
    }

    fn postfix(&mut self) -> Parsed {
        let mut expression = self.atom()?;
        loop {
            let column = expression.column;
            if self.take_sign("[") {
                let index = self.expression()?;
                self.expect_sign("]")?;
                expression = Expr { column, kind: Kind::Subscript(Box::new((expression, index))) };
            } else if self.take_sign("(") {
                let Kind::Name(function) = expression.kind else {
                    let message = "only named functions can be called, such as range()";
                    return Err(PythonError::new(column, message));
                };
                let arguments = self.arguments()?;
                expression = Expr { column, kind: Kind::Call(function, arguments) };
            } else if self.take_sign(".") {
                let (Kind::Name(name), TokenKind::Word(attribute)) = (expression.kind, self.take()) else {
                    let message = "methods and attributes cannot be translated; write the value";
                    return Err(PythonError::new(column, message));
                };
                expression = Expr { column, kind: Kind::Name(format!("{name}.{attribute}")) };
            } else {
                return Ok(expression);
            }
        }
    }

    /// Arguments of a call: expressions, or one generator.
    fn arguments(&mut self) -> Result<Vec<Expr>, PythonError> {
        let mut arguments = Vec::new();
        if self.take_sign(")") {
            return Ok(arguments);
        }
        let first = self.expression()?;
        if matches!(self.peek(), TokenKind::Word(word) if word == "for") {
            arguments.push(self.comprehension(first)?);
            self.expect_sign(")")?;
            return Ok(arguments);
        }
        arguments.push(first);
        self.items_until(&TokenKind::Sign(")"), &mut arguments)?;
        Ok(arguments)
    }

    /// The items after the first one, and the closing token.
    fn items_until(&mut self, close: &TokenKind, items: &mut Vec<Expr>) -> Result<(), PythonError> {
        loop {
            if self.peek() == close {
                self.next += 1;
                return Ok(());
            }
            if !self.take_sign(",") {
                return Err(self.expected(&format!("`,` or {}", shown(close))));
            }
            if self.peek() != close {
                items.push(self.expression()?);
            }
        }
    }

    fn atom(&mut self) -> Parsed {
        let column = self.column();
        let refuse = |message: &str| Err(PythonError::new(column, message));
        let kind = match self.take() {
            TokenKind::Int(value) => Kind::Int(value),
            TokenKind::Float(text) => Kind::Float(text),
            TokenKind::Text(text) => Kind::Text(text),
            TokenKind::Word(word) => match word.as_str() {
                "True" | "true" => Kind::Bool(true),
                "False" | "false" => Kind::Bool(false),
                "None" => Kind::None,
                "and" | "or" | "not" | "if" | "else" | "for" | "in" | "is" | "lambda" => {
                    return Err(PythonError::new(column, format!("`{word}` without what belongs before it")));
                }
                _ => Kind::Name(word),
            },
            TokenKind::Sign("(") => return self.bracketed(column, ")"),
            TokenKind::Sign("[") => return self.bracketed(column, "]"),
            TokenKind::Sign("{") => return self.bracketed(column, "}"),
            TokenKind::Sign(sign) => {
                return Err(PythonError::new(column, format!("unexpected `{sign}`; a value is missing")));
            }
            TokenKind::End => return refuse("the expression ends too early"),
        };
        Ok(Expr { column, kind })
    }

    /// A list, tuple, set, comprehension, or an expression in brackets.
    fn bracketed(&mut self, column: usize, close: &'static str) -> Parsed {
        if self.take_sign(close) {
            return Ok(Expr { column, kind: Kind::List(Vec::new()) });
        }
        let first = self.expression()?;
        if matches!(self.peek(), TokenKind::Word(word) if word == "for") {
            let comprehension = self.comprehension(first)?;
            self.expect_sign(close)?;
            return Ok(comprehension);
        }
        if matches!(self.peek(), TokenKind::Sign(":")) {
            return Err(PythonError::new(column, "dictionaries cannot be translated; write a list"));
        }
        if close == ")" && self.take_sign(close) {
            return Ok(first);
        }
        let mut items = vec![first];
        self.items_until(&TokenKind::Sign(close), &mut items)?;
        Ok(Expr { column, kind: Kind::List(items) })
    }

    fn comprehension(&mut self, element: Expr) -> Parsed {
        let column = element.column;
        let mut loops = Vec::new();
        while self.take_word("for") {
            let at = self.column();
            let (TokenKind::Word(variable), true) = (self.take(), self.take_word("in")) else {
                let message = "a comprehension needs one variable: x for x in ...";
                return Err(PythonError::new(at, message));
            };
            let iterable = self.or()?;
            let mut conditions = Vec::new();
            while self.take_word("if") {
                conditions.push(self.or()?);
            }
            loops.push(Loop { variable, iterable, conditions });
        }
        Ok(Expr { column, kind: Kind::Comprehension(Box::new(Comprehension { element, loops })) })
    }
}

fn shown(token: &TokenKind) -> String {
    match token {
        TokenKind::Int(value) => format!("`{value}`"),
        TokenKind::Float(text) | TokenKind::Word(text) => format!("`{text}`"),
        TokenKind::Text(text) => format!("{text:?}"),
        TokenKind::Sign(sign) => format!("`{sign}`"),
        TokenKind::End => "the end".to_owned(),
    }
}
