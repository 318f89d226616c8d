'use strict';

/* An HTTP server on this machine that takes pushes, writes them down, and answers as told. */

const { once } = require('node:events');
const http = require('node:http');

const { eventually } = require('./expect');

class Receiver {
  /** Answers the first pushes with the given statuses, in this order, and all others with 200. */
  static async start(...statuses) {
    const receiver = new Receiver();
    receiver.statuses = statuses;
    receiver.taken = [];
    receiver.server = http.createServer((request, response) => {
      // A request that breaks off is no push.
      receiver.take(request, response).catch(() => response.destroy());
    });
    receiver.server.listen(0, '127.0.0.1');
    await once(receiver.server, 'listening');
    return receiver;
  }

  url(path = '/push') {
    return `http://127.0.0.1:${this.server.address().port}${path}`;
  }

  /** All pushes up to now, as soon as there are so many. */
  async pushes(count) {
    await eventually(`${count} pushes`, () => this.taken.length >= count, 15);
    return [...this.taken];
  }

  async take(request, response) {
    const when = Date.now();
    const parts = [];
    for await (const part of request) {
      parts.push(part);
    }
    const { method, url, headers, headersDistinct } = request;
    const repeated = Object.keys(headersDistinct).filter((name) => headersDistinct[name].length > 1);
    const body = Buffer.concat(parts).toString();
    this.taken.push({ method, path: url, headers, repeated, body, when });
    response.statusCode = this.statuses.length ? this.statuses.shift() : 200;
    response.end();
  }

  async close() {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }
}

module.exports = { Receiver };
