//! What people use of frameworks: parameters, forms, uploads, cookies and streams, with one table of
//! requests for all of them. `django` has what only that one brings along.

mod django;

use testkit::{Curl, Httpd, Response};

/// Answers the same in each framework.
const APPS: [(&str, &str); 4] = [
    (
        "flask",
        r#"
from flask import Flask, Response, request

app = Flask("app")


@app.get("/hello")
def hello():
    return {"hello": request.args["name"]}


@app.get("/<place>/place")
def place(place):
    return place


@app.post("/form")
def form():
    return f"{request.form['a']} {request.form['b']}"


@app.post("/raw")
def raw():
    return str(len(request.get_data()))


@app.post("/upload")
def upload():
    file = request.files["file"]
    return f"{file.filename} {len(file.read())}"


@app.get("/stream")
def stream():
    return Response(f"{number}," for number in range(5))


@app.get("/cookies")
def cookies():
    response = Response(request.cookies["seen"])
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


@app.get("/url")
def url():
    return request.url


@app.get("/boom")
def boom():
    raise RuntimeError("boom")
"#,
    ),
    (
        "falcon",
        r#"
import falcon


class Resource:
    def on_get_hello(self, req, resp):
        resp.media = {"hello": req.get_param("name")}

    def on_get_place(self, req, resp, place):
        resp.text = place

    def on_post_form(self, req, resp):
        form = req.get_media()
        resp.text = f"{form['a']} {form['b']}"

    def on_post_raw(self, req, resp):
        resp.text = str(len(req.bounded_stream.read()))

    def on_post_upload(self, req, resp):
        for part in req.get_media():
            resp.text = f"{part.filename} {len(part.stream.read())}"

    def on_get_stream(self, req, resp):
        resp.stream = (b"%d," % number for number in range(5))

    def on_get_cookies(self, req, resp):
        resp.text = req.cookies["seen"]
        resp.set_cookie("a", "1", secure=False)
        resp.set_cookie("b", "2", secure=False)

    def on_get_url(self, req, resp):
        resp.text = req.url

    def on_get_boom(self, req, resp):
        raise RuntimeError("boom")


app, resource = falcon.App(), Resource()
app.add_route("/{place}/place", resource, suffix="place")
for name in ("hello", "form", "raw", "upload", "stream", "cookies", "url", "boom"):
    app.add_route("/" + name, resource, suffix=name)
"#,
    ),
    (
        "bottle",
        r#"
import bottle
from bottle import request, response

app = bottle.Bottle()


@app.get("/hello")
def hello():
    return {"hello": request.query.getunicode("name")}


@app.get("/<place>/place")
def place(place):
    return place


@app.post("/form")
def form():
    return f"{request.forms.getunicode('a')} {request.forms.getunicode('b')}"


@app.post("/raw")
def raw():
    return str(len(request.body.read()))


@app.post("/upload")
def upload():
    file = request.files["file"]
    return f"{file.raw_filename} {len(file.file.read())}"


@app.get("/stream")
def stream():
    for number in range(5):
        yield f"{number},"


@app.get("/cookies")
def cookies():
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return request.get_cookie("seen")


@app.get("/url")
def url():
    return request.url


@app.get("/boom")
def boom():
    raise RuntimeError("boom")
"#,
    ),
    (
        "pyramid",
        r#"
from pyramid.config import Configurator
from pyramid.response import Response


def hello(request):
    return Response(json={"hello": request.params["name"]})


def place(request):
    return Response(request.matchdict["place"])


def form(request):
    return Response(f"{request.POST['a']} {request.POST['b']}")


def raw(request):
    return Response(str(len(request.body)))


def upload(request):
    file = request.POST["file"]
    return Response(f"{file.filename} {len(file.file.read())}")


def stream(request):
    return Response(app_iter=(b"%d," % number for number in range(5)))


def cookies(request):
    response = Response(request.cookies["seen"])
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def url(request):
    return Response(request.url)


def boom(request):
    raise RuntimeError("boom")


with Configurator() as config:
    for view in (hello, form, raw, upload, stream, cookies, url, boom):
        config.add_route(view.__name__, "/" + view.__name__)
        config.add_view(view, route_name=view.__name__)
    config.add_route("place", "/{place}/place")
    config.add_view(place, route_name="place")
    app = config.make_wsgi_app()
"#,
    ),
];

/// The validator wants a size in each read, as where nobody knows that the input ends.
const CHECKED: &str = r#"
from wsgiref.validate import validator


def sized(environ, start_response):
    del environ["wsgi.input_terminated"]
    return app(environ, start_response)


application = validator(sized)
"#;

/// The frameworks as they are, and below `/checked` under `wsgiref.validate`.
fn site() -> Httpd {
    let mut httpd = Httpd::new().expect_log("boom").expect_log("[wsgi:error]");
    for (name, source) in APPS {
        let plain = format!("{source}\napplication = app\n");
        let checked = format!("{source}{CHECKED}");
        httpd = httpd
            .app(&format!("{name}.wsgi"), &plain)
            .app(&format!("checked-{name}.wsgi"), &checked)
            .conf(&format!(
                "WSGIDaemonProcess {name} user={{user}} group={{group}} threads=4 \
                 python-home={{venv}}\n\
                 WSGIScriptAlias /checked/{name} {{apps}}/checked-{name}.wsgi process-group={name} \
                 application-group=%{{GLOBAL}}\n\
                 WSGIScriptAlias /{name} {{apps}}/{name}.wsgi process-group={name} \
                 application-group=%{{GLOBAL}}"
            ));
    }
    httpd
}

/// A form with a file in it, and its Content-Type.
fn multipart(content: &str) -> (String, &'static str) {
    let body = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n{content}\r\n--edge--\r\n"
    );
    (body, "multipart/form-data; boundary=edge")
}

/// Sends a request: method, path, headers, body.
type Client<'c> = &'c dyn Fn(&str, &str, &[(&str, &str)], &[u8]) -> Response;

#[test]
fn the_same_requests_to_each_framework() {
    let httpd = site().start();
    for_each_framework(
        &|method, path, headers, body| httpd.request(method, path, headers, body),
        "http://localhost",
    );
    httpd.wait_for_log(&["RuntimeError: boom"]);
}

#[test]
fn the_same_requests_over_tls_and_http2() {
    let Some((httpd, port)) = site().secure("").filter(|_| Curl::is_there()) else {
        return;
    };
    let httpd = httpd.start();
    for version in ["--http1.1", "--http2"] {
        let curl = Curl { version, port };
        for_each_framework(
            &|method, path, headers, body| curl.request(method, path, headers, body),
            &format!("https://localhost:{port}"),
        );
    }
    httpd.wait_for_log(&["RuntimeError: boom"]);
}

#[track_caller]
fn for_each_framework(client: Client, origin: &str) {
    let (upload, multipart) = multipart(&"x".repeat(200_000));
    let big = "y".repeat(300_000);
    let urlencoded = "application/x-www-form-urlencoded";
    for (name, _) in APPS {
        for base in [format!("/{name}"), format!("/checked/{name}")] {
            for (method, path, content_type, body, expected) in [
                ("GET", "/hello?name=J%C3%BCrg", "", "", None),
                ("GET", "/caf%C3%A9/place", "", "", Some("café")),
                ("GET", "/a%20b/place", "", "", Some("a b")),
                ("POST", "/form", urlencoded, "a=1&b=%C3%A9+x", Some("1 é x")),
                ("POST", "/raw", "application/octet-stream", &big, Some("300000")),
                ("POST", "/upload", multipart, &upload, Some("a.txt 200000")),
                ("GET", "/stream", "", "", Some("0,1,2,3,4,")),
            ] {
                let headers: &[_] =
                    if content_type.is_empty() { &[] } else { &[("Content-Type", content_type)] };
                let path = format!("{base}{path}");
                let response = client(method, &path, headers, body.as_bytes()).assert(200);
                match expected {
                    Some(expected) => assert_eq!(response.text(), expected, "{path}"),
                    None => {
                        let text = response.text().replace("\\u00fc", "ü");
                        assert!(text.contains("\"hello\"") && text.contains("\"Jürg\""), "{text}");
                    }
                }
            }
            let response =
                client("GET", &format!("{base}/cookies"), &[("Cookie", "seen=yes")], b"");
            assert_eq!(set_cookies(&response), ["a=1", "b=2"], "{base}");
            assert_eq!(response.assert(200).text(), "yes");
            let url = client("GET", &format!("{base}/url?q=1"), &[], b"").assert(200).text();
            assert_eq!(url, format!("{origin}{base}/url?q=1"));
            client("GET", &format!("{base}/missing"), &[], b"").assert(404);
            client("GET", &format!("{base}/boom"), &[], b"").assert(500);
            let response = client("HEAD", &format!("{base}/hello?name=x"), &[], b"");
            assert!(matches!(response.status, 200 | 404 | 405), "{response}");
            assert!(response.body.is_empty());
        }
    }
}

fn set_cookies(response: &Response) -> Vec<String> {
    let set = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("Set-Cookie");
    let cookies = response.headers.iter().filter(set);
    cookies.filter_map(|(_, value)| value.split(';').next()).map(str::to_owned).collect()
}
