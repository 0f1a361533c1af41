//! Which part of the text a node of the syntax tree was written as.
//!
//! The parser keeps one token of each node: an operator's, a literal's, or the bracket of a call.

use cel::common::ast::{Expr, IdedExpr, SourceInfo};

/// Longest part shown in a message, in characters.
const SHOWN: usize = 60;

/// Where the node's token starts, in bytes from 0.
pub(super) fn offset(source: &SourceInfo, node: &IdedExpr) -> usize {
    source.offset_for(node.id).map_or(0, |(start, _)| start as usize)
}

/// The text that the node was written as, cut if it is long.
pub(super) fn written(text: &str, source: &SourceInfo, node: &IdedExpr) -> String {
    let extent = extent(text.as_bytes(), source, node);
    let part = extent.and_then(|(start, end)| text.get(start..end)).unwrap_or(text);
    let mut shown: String = part.chars().take(SHOWN).collect();
    if part.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    // A line break would break the message's line.
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// First byte and the one after the last.
fn extent(bytes: &[u8], source: &SourceInfo, node: &IdedExpr) -> Option<(usize, usize)> {
    let (start, stop) = source.offset_for(node.id)?;
    let (mut start, mut end) = (start as usize, stop as usize + 1);
    let children: &[IdedExpr] = match &node.expr {
        Expr::Call(call) => &call.args,
        Expr::List(list) => &list.elements,
        _ => &[],
    };
    if let Expr::Call(call) = &node.expr
        && bytes.get(start) == Some(&b'(')
    {
        let before = bytes.get(..start)?.iter().rposition(|c| !c.is_ascii_whitespace())? + 1;
        start = before.saturating_sub(call.func_name.len());
    }
    for child in children {
        let (child_start, child_end) = extent(bytes, source, child)?;
        start = start.min(child_start);
        end = end.max(child_end);
    }
    balance(bytes, start, end)
}

/// The range, widened by the brackets that it has only one half of.
fn balance(bytes: &[u8], mut start: usize, mut end: usize) -> Option<(usize, usize)> {
    let (mut open, mut missing) = (0_usize, 0_usize);
    for byte in bytes.get(start..end)? {
        match byte {
            b'(' | b'[' => open += 1,
            b')' | b']' if open > 0 => open -= 1,
            b')' | b']' => missing += 1,
            _ => {}
        }
    }
    while missing > 0 {
        start = bytes.get(..start)?.iter().rposition(|c| matches!(c, b'(' | b'['))?;
        missing -= 1;
    }
    while open > 0 {
        end += bytes.get(end..)?.iter().position(|c| matches!(c, b')' | b']'))? + 1;
        open -= 1;
    }
    Some((start, end))
}
