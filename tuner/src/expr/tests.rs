use super::*;

fn scope() -> Scope {
    let mut scope = Scope::new();
    for name in ["block_m", "k", "m", "n"] {
        scope.add(name, Type::Int);
    }
    scope.add("fast", Type::Bool);
    scope.add("kind", Type::Text);
    scope.intern("wide");
    scope.intern("narrow");
    scope
}

fn message(text: &str) -> String {
    Expression::compile(text, &scope()).unwrap_err().to_string()
}

#[test]
fn probe() {
    for t in [
        "", " ", "1 +", "(", ")", "((((", "a b", "'abc", "\"", "\u{0}", "1 2", "@", "#", "$a", "a..b", "'\\q'", "[", "{", "]", "in", "1 in",
        "'é' == kind", "kind == 'é\u{1F600}' && fast + 1 == 2", "99999999999999999999", "0xfffffffffffffffff", "1e999", "m = 1", "m & 1", "m ? 1", "blok_m", "2.0 * m",
        "1u + m", "m.x", "m.size()", "size(m)", "[1,2].all(x, x > 1)", "has(m)", "has(m.x)", "m[0]", "{'a': 1}", "T{a: 1}", "[1]", "null == 1",
        "b'a'", "m in n", "m in [1, 2.0]", "m && fast", "!m", "-fast", "fast + 1", "(m + 1) * (2.0 - 1.0)", "min(m, 2.0)", "min(m, n, k)", "int(fast)", "kind < 'wide'", "kind + kind",
        "fast ? 1 : 2.0", "m %\n 2.0", "if", "for + 1", "`a`", ".m", "m ? 1 : 2", "r'abc' == kind", "'''a''' == kind", "1 == 1.0", "// c", "m // c", "5 .", "m.", "?", ":", "&&", "m &&", "|| m", "\\", "-", "!", "- - m == 1", "---9223372036854775808", "-9223372036854775808 == m", "--5 == 5",
    ] {
        let r = std::panic::catch_unwind(|| Expression::compile(t, &scope()));
        match r { Ok(Ok(e)) => println!("{t:?} OK {:?}", e.root), Ok(Err(e)) => println!("{t:?} ERR {e}"), Err(_) => println!("{t:?} PANIC") }
    }
}

#[test]
fn probe_deep() {
    for (n, t) in [
        ("plus", "m".to_owned() + &" + m".repeat(256)),
        ("div", "m".to_owned() + &"/m".repeat(256)),
        ("brackets", "(".repeat(32) + "m" + &")".repeat(32)),
        ("openbrackets", "(".repeat(32)),
        ("ternary", "fast ? 1 : ".repeat(32) + "2"),
        ("ternary2", "fast ? ".repeat(32) + "2" + &" : 1".repeat(32)),
        ("neg", "-".repeat(256) + "m"),
        ("not", "!".repeat(256) + "fast"),
        ("negp", "-(".repeat(32) + "m" + &")".repeat(32)),
        ("and", "fast".to_owned() + &" && fast".repeat(128)),
        ("min", "min(m, ".repeat(32) + "m" + &")".repeat(32)),
        ("minl", "min(".repeat(32) + "m" + &", m)".repeat(32)),
        ("mix", "(m + ".repeat(32) + "m" + &" + 1 * 2 / 3 ) ".repeat(32)),
        ("lt", "m".to_owned() + &" < m".repeat(256)),
        ("list", format!("m in [{}1]", "1,".repeat(2000))),
        ("idents", "m ".repeat(2000)),
        ("dots", "m".to_owned() + &".m".repeat(256)),
        ("index", "m".to_owned() + &"[0]".repeat(1300)),
        ("calls", "m".to_owned() + &"()".repeat(2000)),
        ("string", format!("kind == '{}'", "a".repeat(4000))),
    ] {
        let start = std::time::Instant::now();
        let e = Expression::compile(&t, &scope());
        println!("{n} {:?} {:?}", start.elapsed(), e.map(|e| e.slots().len()).map_err(|e| e.to_string()));
    }
}
