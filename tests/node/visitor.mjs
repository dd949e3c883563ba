// A browser session: its cookies go with every request, and its CSRF token as a page would send it.
export class Visitor {
  cookies = {};

  fetch = async (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("cookie", this.cookieHeader);
    const response = await fetch(url, { ...init, headers });
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(";")[0].split(/=(.*)/s);
      this.cookies[name] = value;
    }
    return response;
  };

  get cookieHeader() {
    return Object.entries(this.cookies).map((pair) => pair.join("=")).join("; ");
  }

  headers = () => ({ "X-CSRFToken": this.cookies.csrftoken });
}
