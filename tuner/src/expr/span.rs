//! Which part of the text a node of the syntax tree was written as.
//!
//! The parser keeps one token of each node: an operator's, a literal's, or the bracket of a call.

use cel::common::ast::{Expr, IdedExpr, SourceInfo};

/// Longest part shown in a message, in characters.
const SHOWN: usize = 60;

/// Where the node's token starts, in characters from 0.
pub(super) fn offset(source: &SourceInfo, node: &IdedExpr) -> usize {
    source.offset_for(node.id).map_or(0, |(start, _)| start as usize)
}

/// The text that the node was written as, cut if it is long.
pub(super) fn written(text: &str, source: &SourceInfo, node: &IdedExpr) -> String {
    let chars: Vec<char> = text.chars().collect();
    let Some((start, end)) = extent(&chars, source, node) else { return text.to_owned() };
    let Some(part) = chars.get(start..end) else { return text.to_owned() };
    let mut shown: String = part.iter().take(SHOWN).collect();
    if part.len() > SHOWN {
        shown.push_str("...");
    }
    // A line break would break the message's line.
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// First character and the one after the last.
fn extent(chars: &[char], source: &SourceInfo, node: &IdedExpr) -> Option<(usize, usize)> {
    let (start, stop) = source.offset_for(node.id)?;
    let (mut start, mut end) = (start as usize, stop as usize + 1);
    let children: &[IdedExpr] = match &node.expr {
        Expr::Call(call) => &call.args,
        Expr::List(list) => &list.elements,
        _ => &[],
    };
    if let Expr::Call(call) = &node.expr
        && chars.get(start) == Some(&'(')
    {
        let before = chars.get(..start)?.iter().rposition(|c| !c.is_whitespace())? + 1;
        start = before.saturating_sub(call.func_name.chars().count());
    }
    for child in children {
        let (child_start, child_end) = extent(chars, source, child)?;
        start = start.min(child_start);
        end = end.max(child_end);
    }
    balance(chars, start, end)
}

/// The range, widened by the brackets that it has only one half of.
fn balance(chars: &[char], mut start: usize, mut end: usize) -> Option<(usize, usize)> {
    let (mut open, mut missing) = (0_usize, 0_usize);
    for char in chars.get(start..end)? {
        match char {
            '(' | '[' => open += 1,
            ')' | ']' if open > 0 => open -= 1,
            ')' | ']' => missing += 1,
            _ => {}
        }
    }
    while missing > 0 {
        start = chars.get(..start)?.iter().rposition(|c| matches!(c, '(' | '['))?;
        missing -= 1;
    }
    while open > 0 {
        end += chars.get(end..)?.iter().position(|c| matches!(c, ')' | ']'))? + 1;
        open -= 1;
    }
    Some((start, end))
}
