// Backpropagation by hand. To check it:
//   rustc -O --edition 2021 mine.rs
//   backprop-ref verify --command ./mine --many
use std::io::{BufRead, Write};

type Vector = Vec<f64>;
type Matrix = Vec<Vector>;

/// The loss of a batch, dW and db with the shapes of weights and biases; None for a network that it is not made for.
///
/// sizes such as [2, 3, 1]; activations, a name for each layer of weights; loss, a name. weights[l][k][j] is from input k
/// to neuron j; biases[l][j]; x[s][k] and y[s][j] of sample s.
#[allow(unused_variables)]
fn gradients(
    sizes: &[usize], activations: &[String], loss: &str,
    weights: &[Matrix], biases: &[Vector], x: &[Vector], y: &[Vector],
) -> Option<(f64, Vec<Matrix>, Vec<Vector>)> {
    // Fill in the forward and the backward pass here.
    None
}

/// A case a line on standard input, an answer a line on standard output.
fn main() {
    for line in std::io::stdin().lock().lines() {
        let asked = Parser { text: line.expect("UTF-8").into_bytes(), at: 0 }.value();
        let network = asked.get("network");
        let sizes: Vec<usize> = network.get("sizes").list().iter().map(|n| n.number() as usize).collect();
        let activations: Vec<String> = network.get("activations").list().iter().map(|name| name.text()).collect();
        let weights: Vec<Matrix> = asked.get("weights").list().iter().map(Json::matrix).collect();
        let plain = matches!(asked.get("da"), Json::Null) && asked.get("weight_decay").number() == 0.0;
        let found = if plain {
            gradients(
                &sizes, &activations, &network.get("loss").text(),
                &weights, &asked.get("biases").matrix(), &asked.get("x").matrix(), &asked.get("y").matrix(),
            )
        } else {
            None
        };
        match found {
            Some((loss, dw, db)) => println!("{{\"loss\": {loss:e}, \"dW\": {dw:?}, \"db\": {db:?}}}"),
            None => println!("{{\"not_judged\": \"not written for this case\"}}"),
        }
        std::io::stdout().flush().expect("standard output");
    }
}

enum Json {
    Null,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn get(&self, key: &str) -> &Json {
        match self {
            Json::Object(entries) => &entries.iter().find(|entry| entry.0 == key).expect(key).1,
            _ => panic!("no object with {key}"),
        }
    }

    fn list(&self) -> &[Json] {
        match self {
            Json::List(entries) => entries,
            _ => panic!("no list"),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Json::Number(value) => *value,
            _ => panic!("no number"),
        }
    }

    fn text(&self) -> String {
        match self {
            Json::Text(text) => text.clone(),
            _ => panic!("no text"),
        }
    }

    fn matrix(&self) -> Matrix {
        self.list().iter().map(|row| row.list().iter().map(Json::number).collect()).collect()
    }
}

struct Parser {
    text: Vec<u8>,
    at: usize,
}

impl Parser {
    fn skip(&mut self) -> u8 {
        while b" \t\r\n,:".contains(&self.text[self.at]) {
            self.at += 1;
        }
        self.text[self.at]
    }

    fn until(&mut self, ends: &[u8]) -> String {
        let start = self.at;
        while self.at < self.text.len() && !ends.contains(&self.text[self.at]) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.at]).into_owned()
    }

    fn value(&mut self) -> Json {
        let first = self.skip();
        self.at += 1;
        match first {
            b'"' => {
                let text = self.until(b"\"");
                self.at += 1;
                Json::Text(text)
            }
            b'[' => {
                let mut list = Vec::new();
                while self.skip() != b']' {
                    list.push(self.value());
                }
                self.at += 1;
                Json::List(list)
            }
            b'{' => {
                let mut entries = Vec::new();
                while self.skip() != b'}' {
                    let key = self.value().text();
                    entries.push((key, self.value()));
                }
                self.at += 1;
                Json::Object(entries)
            }
            _ => {
                self.at -= 1;
                let word = self.until(b",]} ");
                word.parse().map(Json::Number).unwrap_or(Json::Null)
            }
        }
    }
}
