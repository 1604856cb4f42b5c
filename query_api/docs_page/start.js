// Swagger UI on this service's own description. A file of its own: the page's policy allows no inline script.
/** @type {any} */ (window).SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
