'use strict';

/*
 * Lets the unchanged SDK reach a server on this machine. Load it before the SDK: node --require ./alias.js
 *
 * The SDK builds its own host names and takes no other. Requests to exactly these names are redirected:
 *
 *     https://cmq-queue-REGION.api.qcloud.com         http://cmq-queue-REGION.api.tencentyun.com
 *     https://cmq-topic-REGION.api.qcloud.com         http://cmq-topic-REGION.api.tencentyun.com
 *
 * They go to the address in CMQ_ALIAS (http://host:port or https://host:port), as its scheme says. Path, headers and
 * body stay as they are, above all `Host`, which names the vendor: the signature covers it, and over HTTPS the
 * certificate must have that name. A request to any other host but this machine is an error, so that nothing ever
 * leaves for the vendor.
 */

const http = require('http');
const https = require('https');

const server = new URL(process.env.CMQ_ALIAS);
const VENDOR = /^cmq-(queue|topic)-[a-z]+\.api\.(qcloud|tencentyun)\.com$/;
const request = server.protocol === 'https:' ? https.request : http.request;
const taken = new Map();

function aliased(original) {
  return (url, options, callback) => {
    // The SDK's HTTP library always passes all three. Whoever does otherwise is not the SDK.
    if (!(url instanceof URL)) {
      throw new TypeError('alias.js knows requests of the form (URL, options, callback) only');
    }
    if (url.hostname === '127.0.0.1') {
      return original(url, options, callback);
    }
    if (!VENDOR.test(url.hostname)) {
      throw new Error(`alias.js lets nobody ask ${url.hostname}`);
    }
    taken.set(url.origin, (taken.get(url.origin) || 0) + 1);
    return request(
      {
        ...options,
        agent: undefined,
        servername: url.hostname,
        protocol: server.protocol,
        hostname: server.hostname,
        port: server.port,
        path: url.pathname + url.search,
        headers: { ...options.headers, host: url.host },
      },
      callback,
    );
  };
}

http.request = aliased(http.request);
https.request = aliased(https.request);

/** How many requests were redirected, by the origin that the SDK wanted. */
module.exports = { taken };
